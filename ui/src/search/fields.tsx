/** Form fields with values to choose from. */
import { useId } from 'react';

interface SelectFieldProps {
  readonly label: string;
  readonly value: string;
  /** Label of the empty option. */
  readonly emptyLabel: string;
  readonly options: readonly string[];
  readonly onChange: (value: string) => void;
  /** Whether a phone may hide the field at first. */
  readonly isSecondary?: boolean;
}

export function SelectField({
  label,
  value,
  emptyLabel,
  options,
  onChange,
  isSecondary = false,
}: SelectFieldProps) {
  // A value from the address stays selectable even if the collector does not list it.
  const listed = value && !options.includes(value) ? [value, ...options] : options;
  return (
    <label className={isSecondary ? 'field secondary' : 'field'}>
      <span>{label}</span>
      <select value={value} onChange={(event) => onChange(event.target.value)}>
        <option value="">{emptyLabel}</option>
        {[...listed].sort().map((option) => (
          <option key={option} value={option}>
            {option}
          </option>
        ))}
      </select>
    </label>
  );
}

interface SuggestionFieldProps extends Omit<SelectFieldProps, 'emptyLabel'> {
  readonly placeholder: string;
}

/** Free text with suggestions, because there may be thousands of operations. */
export function SuggestionField({
  label,
  placeholder,
  value,
  options,
  onChange,
  isSecondary = false,
}: SuggestionFieldProps) {
  const id = useId();
  return (
    <label className={isSecondary ? 'field secondary' : 'field'}>
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
