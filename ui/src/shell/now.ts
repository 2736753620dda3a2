/** The current time as React state. */
import { useEffect, useState } from 'react';

/** Returns the current time in milliseconds, updated often enough for relative times. */
export function useNow(): number {
  const [now, setNow] = useState(Date.now);
  useEffect(() => {
    const timer = setInterval(() => setNow(Date.now()), 5_000);
    return () => clearInterval(timer);
  }, []);
  return now;
}
