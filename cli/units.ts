/** Quantities for people. */

const steps = ['B', 'KiB', 'MiB', 'GiB', 'TiB']

export function byteText(bytes: number): string {
  let value = bytes
  let step = 0
  for (; value >= 1024 && step < steps.length - 1; step++) value /= 1024
  return `${step === 0 ? String(value) : value.toFixed(1)} ${steps[step]}`
}

/** Per second. */
export function rateText(rate: number): string {
  return rate >= 100 ? String(Math.round(rate)) : rate.toFixed(1)
}

/** Per second, to hundredths: what is measured is no more exact. */
export function rounded(rate: number | null | undefined): number {
  return Math.round((rate ?? 0) * 100) / 100
}

/** 'h:mm:ss' for long ones, else seconds. */
export function durationText(ms: number): string {
  const seconds = Math.max(0, ms) / 1000
  if (seconds < 100) return `${seconds.toFixed(1)} s`
  const two = (value: number) => String(Math.floor(value)).padStart(2, '0')
  return `${Math.floor(seconds / 3600)}:${two((seconds / 60) % 60)}:${two(seconds % 60)}`
}

const listedMax = 8

/** 1, 2, 3 … and 12 more. */
export function listed(items: readonly (number | string)[]): string {
  const more = items.length - listedMax
  return more > 0 ? `${items.slice(0, listedMax).join(', ')} and ${more} more` : items.join(', ')
}
