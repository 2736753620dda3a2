/** Keyboard shortcuts of the whole trace page; they do not apply while the reader types. */
import { type RefObject, useEffect } from 'react';
import type { PageModel } from './state';

const PAGE_KEYS = new Set([
  'a',
  'A',
  'd',
  'D',
  '+',
  '=',
  '-',
  '_',
  '*',
  '0',
  ']',
  '[',
  'p',
  'o',
  'e',
  'E',
  'f',
  'b',
  'Escape',
]);

/** Without a page the keys belong to a page within it. */
export function usePageKeys(
  page: PageModel | undefined,
  findField: RefObject<HTMLInputElement | null>,
): void {
  useEffect(() => {
    if (!page) return undefined;
    const onKeyDown = (event: KeyboardEvent) => {
      if (event.defaultPrevented || isTyping(event.target)) return;
      const isFind =
        (event.ctrlKey && event.key === 'b') ||
        (!event.ctrlKey && !event.metaKey && event.key === '/');
      if (isFind) {
        event.preventDefault();
        findField.current?.focus();
        return;
      }
      if (event.altKey || event.ctrlKey || event.metaKey) return;
      if (!PAGE_KEYS.has(event.key) && !(event.shiftKey && event.key.startsWith('Arrow'))) return;
      if (page.press(event.key, event.shiftKey)) event.preventDefault();
    };
    window.addEventListener('keydown', onKeyDown);
    return () => window.removeEventListener('keydown', onKeyDown);
  }, [page, findField]);
}

export function isTyping(target: EventTarget | null): boolean {
  return (
    target instanceof HTMLElement && target.closest('input, select, textarea, dialog') !== null
  );
}
