/** Notices in place of content: loading, empty, error. */
import type { ReactNode } from 'react';
import type { ApiError } from '../api/client';

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

const ADVICE: Record<ApiError['kind'], string> = {
  unreachable: 'Check that the collector is still running: it serves this page and the traces.',
  slow: 'The collector may be busy, or the query too wide: ask for a shorter time or fewer traces.',
  'not-found': 'It may have been removed to make room, or it has not arrived yet.',
  refused: 'Change the query, or look at the collector’s log.',
  unreadable: 'Something between this page and the collector may have answered in its place.',
};

function sentence(text: string): string {
  return `${text.charAt(0).toUpperCase()}${text.slice(1)}${/[.!?]$/.test(text) ? '' : '.'}`;
}
