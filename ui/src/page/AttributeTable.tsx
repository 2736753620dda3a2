/** A table of attributes with units, copy buttons and links; long names break after their dots. */
import { Fragment, type ReactNode } from 'react';
import { CopyButton } from '../shell/CopyButton';
import { type LinkTemplate, linksFor } from '../trace/links';
import type { Attribute } from '../trace/spanDetails';
import { withUnit } from '../trace/units';

interface AttributeTableProps {
  readonly attributes: readonly Attribute[];
  readonly traceId: string;
  readonly spanId: string;
  readonly service: string;
  readonly templates: readonly LinkTemplate[];
}

export function AttributeTable({ attributes, templates, ...places }: AttributeTableProps) {
  return (
    <table className="attributes">
      <tbody>
        {attributes.map(({ key, value }, i) => (
          <tr key={i}>
            <th scope="row">
              <bdi>{breakable(key)}</bdi>
            </th>
            <td>
              <bdi>{value}</bdi>
              <Unit name={key} value={value} />
              {linksFor(templates, { ...places, key, value }).map((url) => (
                <a
                  key={url}
                  className="template-link"
                  href={url}
                  target="_blank"
                  rel="noreferrer noopener"
                >
                  {new URL(url).host}
                </a>
              ))}
              <CopyButton text={value} subject={`value of ${key}`} isIcon />
            </td>
          </tr>
        ))}
      </tbody>
    </table>
  );
}

function Unit({ name, value }: { readonly name: string; readonly value: string }) {
  const text = withUnit(name, value);
  return text === undefined ? null : <span className="unit"> {text}</span>;
}

/** Allows a dotted name to break after its dots instead of within a word. */
function breakable(name: string): ReactNode {
  return name.split(/(?<=[._])/).map((part, i) => (
    <Fragment key={i}>
      {i > 0 && <wbr />}
      {part}
    </Fragment>
  ));
}
