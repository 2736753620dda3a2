/** Properties of every view of a trace. */
import type { Page } from './state';

export interface ViewProps {
  readonly page: Page;
  /** Colour slot by service name. */
  readonly colours: ReadonlyMap<string, number>;
}
