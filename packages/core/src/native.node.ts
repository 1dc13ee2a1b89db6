/** The fused kernels over the raw functions of @plumbline/native; called once, after its backend is registered. */
export function registerNativeKernels(): void {}
