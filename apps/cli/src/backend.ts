/** The backend a command runs on, from its flags. */
import { initBackend } from '@plumbline/core';
import pc from 'picocolors';
import { wholeNumber } from './settings.js';

export type BackendFlags = { backend?: string; threads?: string };

export const backendOf = ({ backend, threads }: BackendFlags): { backend?: string; threads?: number } => ({
  ...(backend !== undefined && { backend }),
  ...(threads !== undefined && { threads: wholeNumber('--threads', threads, 1) }),
});

/** Starts the backend and says in one line which one it is. */
export async function startBackend(flags: BackendFlags): ReturnType<typeof initBackend> {
  const info = await initBackend(backendOf(flags));
  const parts = [info.device, info.simd, info.threads && `${info.threads} thread${info.threads === 1 ? '' : 's'}`].filter(Boolean);
  console.error(pc.dim(`Backend: ${info.name}${parts.length ? ` (${parts.join(', ')})` : ''}`));
  return info;
}
