/** The reader's choices on the trace page, and the actions that change them. */
import type { TimeWindow } from '../trace/axis';
import type { FoldFlags } from '../trace/rows';
import type { ShownPath, View } from './address';

export interface PageState {
  readonly view: View;
  readonly active: number;
  readonly open: boolean;
  readonly folds: FoldFlags;
  readonly find: string;
  /** Indexes of the spans that the search matched, in reading order. */
  readonly match: readonly number[];
  readonly only: boolean;
  readonly path: ShownPath;
  readonly cut: boolean;
  /** `undefined` means the full range. */
  readonly window: TimeWindow | undefined;
}

export type PageAction =
  | {
      readonly type: 'set';
      readonly part: Partial<
        Pick<PageState, 'view' | 'open' | 'find' | 'match' | 'only' | 'path' | 'cut' | 'window'>
      >;
    }
  | { readonly type: 'select'; readonly index: number; readonly open?: boolean }
  | { readonly type: 'toggle'; readonly index: number }
  | {
      readonly type: 'folds';
      readonly how: 'expand-all' | 'collapse-all' | 'expand-level' | 'collapse-level';
    }
  | { readonly type: 'key'; readonly key: string }
  | { readonly type: 'zoom'; readonly factor: number; readonly centre?: number }
  | { readonly type: 'pan'; readonly part: number }
  | { readonly type: 'address'; readonly query: string };
