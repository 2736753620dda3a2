/** Where the call of a client span went, muted, after its name. */

export function Destination({ text }: { readonly text: string }) {
  if (!text) return null;
  return (
    <span className="destination">
      {' → '}
      <bdi>{text}</bdi>
    </span>
  );
}
