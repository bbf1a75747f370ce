declare module '@niivue/dcm2niix' {
  interface Processor {
    bids(value: 'y' | 'n' | 'o'): Processor
    z(value: 'y' | 'n'): Processor
    f(pattern: string): Processor
    run(): Promise<File[]>
  }
  export class Dcm2niix {
    readonly worker: Worker | null
    init(): Promise<boolean>
    input(files: File[]): Processor
  }
}
