/** Notices in place of content: loading, empty, error. */
import type { ReactNode } from 'react';
import type { ApiError } from '../api/client';

const ADVICE: Record<ApiError['kind'], string> = {
  unreachable: 'Check that the collector is running; it serves both this page and the traces.',
  timeout: 'The collector may be busy. Choose a shorter time range or fewer traces.',
  'not-found': 'It may have been deleted to free space, or may not have arrived yet.',
  rejected: 'Change the query, or check the collector’s log.',
  malformed: 'A proxy between this page and the collector may have sent this response.',
};

export function LoadingNotice({ subject }: { readonly subject: string }) {
  return (
    <div className="notice" role="status">
      <span className="spinner" aria-hidden="true" />
      <p>Loading {subject}…</p>
    </div>
  );
}

interface EmptyNoticeProps {
  readonly title: string;
  readonly children: ReactNode;
}

export function EmptyNotice({ title, children }: EmptyNoticeProps) {
  return (
    <div className="notice" role="status">
      <h2>{title}</h2>
      {children}
    </div>
  );
}

interface ErrorNoticeProps {
  readonly subject: string;
  readonly failure: ApiError;
  readonly retry: () => void;
}

export function ErrorNotice({ subject, failure, retry }: ErrorNoticeProps) {
  return (
    <div className="notice notice-failed" role="alert">
      <h2>Could not load {subject}</h2>
      <p>
        <bdi>{sentence(failure.message)}</bdi> {ADVICE[failure.kind]}
      </p>
      <button type="button" onClick={retry}>
        Try again
      </button>
    </div>
  );
}

function sentence(text: string): string {
  return `${text.charAt(0).toUpperCase()}${text.slice(1)}${/[.!?]$/.test(text) ? '' : '.'}`;
}
