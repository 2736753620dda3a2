import { type RefCallback, useCallback, useState } from 'react';

/** Returns the width of an element in pixels, updated when it changes; 0 until it is known. */
export function useElementWidth<E extends Element>(): [RefCallback<E>, number] {
  const [width, setWidth] = useState(0);
  const watch = useCallback((element: E | null) => {
    if (!element) return undefined;
    // The same measure as the observer's, so that nothing is drawn twice.
    setWidth(element.clientWidth);
    const observer = new ResizeObserver((entries) => {
      for (const entry of entries) setWidth(entry.contentRect.width);
    });
    observer.observe(element);
    return () => observer.disconnect();
  }, []);
  return [watch, width];
}
