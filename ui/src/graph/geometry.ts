/** Sizes and positions of nodes and edges, as the layouts take and return them. */

export interface NodeBox {
  readonly id: string;
  readonly width: number;
  readonly height: number;
}

export interface EdgeEnds {
  readonly id: string;
  readonly from: string;
  readonly to: string;
  /** Width in pixels to reserve for the label. */
  readonly labelWidth: number;
}

/** Positions in pixels; `x` and `y` are the centres of nodes and of edge labels. */
export interface GraphLayout {
  readonly nodes: ReadonlyMap<string, { readonly x: number; readonly y: number }>;
  readonly edges: ReadonlyMap<
    string,
    { readonly path: string; readonly x: number; readonly y: number }
  >;
  readonly width: number;
  readonly height: number;
}
