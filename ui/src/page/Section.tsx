/** A collapsible section of the details. */
import type { ReactNode } from 'react';

interface SectionProps {
  readonly title: string;
  readonly count?: number;
  readonly children: ReactNode;
}

export function Section({ title, count, children }: SectionProps) {
  return (
    <details className="section" open>
      <summary>
        <h3>{title}</h3>
        {count !== undefined && <span className="quiet">{count}</span>}
      </summary>
      {children}
    </details>
  );
}
