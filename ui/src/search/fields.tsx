/** Fields with values to choose from. */
import { useId } from 'react';

interface ChoiceProps {
  readonly label: string;
  readonly value: string;
  /** What the empty choice is called. */
  readonly all: string;
  readonly options: readonly string[];
  readonly onChange: (value: string) => void;
  /** Whether a phone may hide it at first. */
  readonly isRare?: boolean;
}

export function Choice({ label, value, all, options, onChange, isRare = false }: ChoiceProps) {
  // A value from the address stays selectable while, or although, the collector does not list it.
  const listed = value && !options.includes(value) ? [value, ...options] : options;
  return (
    <label className={isRare ? 'field rare' : 'field'}>
      <span>{label}</span>
      <select value={value} onChange={(event) => onChange(event.target.value)}>
        <option value="">{all}</option>
        {[...listed].sort().map((option) => (
          <option key={option} value={option}>
            {option}
          </option>
        ))}
      </select>
    </label>
  );
}

interface SuggestedProps extends Omit<ChoiceProps, 'all'> {
  readonly placeholder: string;
}

/** Free text with suggestions: there may be thousands of operations. */
export function Suggested({
  label,
  placeholder,
  value,
  options,
  onChange,
  isRare = false,
}: SuggestedProps) {
  const id = useId();
  return (
    <label className={isRare ? 'field rare' : 'field'}>
      <span>{label}</span>
      <input
        type="text"
        list={id}
        placeholder={placeholder}
        spellCheck={false}
        autoComplete="off"
        value={value}
        onChange={(event) => onChange(event.target.value)}
      />
      <datalist id={id}>
        {options.slice(0, 200).map((option) => (
          <option key={option} value={option} />
        ))}
      </datalist>
    </label>
  );
}
