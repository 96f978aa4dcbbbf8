/** The flags of `ostraka inspect`. */
export interface InspectOptions {
  readonly entries?: boolean
  readonly values?: boolean
  readonly block?: number
}
