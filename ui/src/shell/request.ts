/** A request as React state; the last value is kept while reloading. */
import { useCallback, useEffect, useEffectEvent, useState } from 'react';
import { ApiError } from '../api/client';

export interface RequestState<T> {
  readonly loading: boolean;
  readonly value?: T;
  readonly failure?: ApiError;
  readonly reload: () => void;
}

/**
 * Runs `run` when `key` changes and on `reload`. A response that arrives after a newer request has
 * started is dropped. Without a key there is no request.
 */
export function useRequest<T>(
  key: string | undefined,
  run: (signal: AbortSignal) => Promise<T>,
): RequestState<T> {
  const [outcome, setOutcome] = useState<{ value?: T; failure?: ApiError; settled?: string }>({});
  const [attempt, setAttempt] = useState(0);
  const reload = useCallback(() => setAttempt((previous) => previous + 1), []);
  const requestKey = key === undefined ? undefined : `${attempt} ${key}`;

  const start = useEffectEvent(run);

  useEffect(() => {
    if (requestKey === undefined) return undefined;
    const abort = new AbortController();
    start(abort.signal).then(
      (value) => {
        if (!abort.signal.aborted) setOutcome({ value, settled: requestKey });
      },
      (error: unknown) => {
        if (abort.signal.aborted) return;
        const failure =
          error instanceof ApiError ? error : new ApiError('malformed', String(error));
        setOutcome({ failure, settled: requestKey });
      },
    );
    return () => abort.abort();
  }, [requestKey]);

  if (requestKey === undefined) return { loading: false, reload };
  const loading = outcome.settled !== requestKey;
  return { ...outcome, loading, reload };
}
