import type { ServiceShare } from '../api/types';
import { formatCount } from '../trace/format';

interface ServicePillProps {
  readonly service: ServiceShare;
  /** Slot of the service's colour. */
  readonly colour: number;
}

/** A service with its colour, number of spans and number of errors. */
export function ServicePill({ service, colour }: ServicePillProps) {
  return (
    <span className={`pill service-${colour}`}>
      <span className="swatch" aria-hidden="true" />
      <bdi>{service.name}</bdi>
      <span className="pill-count" title={formatCount(service.spans, 'span')}>
        {service.spans}
      </span>
      {service.errors > 0 && (
        <span className="failure-note">{formatCount(service.errors, 'error')}</span>
      )}
    </span>
  );
}
