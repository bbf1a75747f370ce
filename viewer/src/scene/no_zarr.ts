/**
 * Stands for zarrita, by which NiiVue would read Zarr stores: the server sends none, and its decoders are larger than all
 * the rest of the viewer.
 */
const refuse = (): never => {
  throw new Error('This viewer reads no Zarr stores.')
}

export const FetchStore = refuse
export const get = refuse
export const open = refuse
export const root = refuse
export const slice = refuse
