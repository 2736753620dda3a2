/** Properties of every view of a trace. */
import type { PageModel } from './state';

export interface ViewProps {
  readonly page: PageModel;
  /** Colour slot by service name. */
  readonly colours: ReadonlyMap<string, number>;
}
