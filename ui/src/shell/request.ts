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
  const [round, setRound] = useState(0);
  const reload = useCallback(() => setRound((previous) => previous + 1), []);
  const ticket = key === undefined ? undefined : `${round} ${key}`;

  const start = useEffectEvent(run);

  useEffect(() => {
    if (ticket === undefined) return undefined;
    const abort = new AbortController();
    start(abort.signal).then(
      (value) => {
        if (!abort.signal.aborted) setOutcome({ value, settled: ticket });
      },
      (error: unknown) => {
        if (abort.signal.aborted) return;
        const failure =
          error instanceof ApiError ? error : new ApiError('malformed', String(error));
        setOutcome({ failure, settled: ticket });
      },
    );
    return () => abort.abort();
  }, [ticket]);

  if (ticket === undefined) return { loading: false, reload };
  const loading = outcome.settled !== ticket;
  return { ...outcome, loading, reload };
}
