/** A link to another page of the UI that does not reload the document. */
import type { AnchorHTMLAttributes, MouseEvent } from 'react';
import { absoluteUrl, navigate } from './navigation';

interface LinkProps extends AnchorHTMLAttributes<HTMLAnchorElement> {
  /** Path relative to the folder of the pages. */
  readonly to: string;
}

export function Link({ to, ...attributes }: LinkProps) {
  return <a {...attributes} href={absoluteUrl(to)} onClick={(event) => navigateTo(to, event)} />;
}

function navigateTo(to: string, event: MouseEvent): void {
  // With a modifier key the browser opens a tab or a window.
  const hasModifier = event.metaKey || event.ctrlKey || event.shiftKey || event.altKey;
  if (event.button !== 0 || hasModifier) return;
  event.preventDefault();
  navigate(to);
}
