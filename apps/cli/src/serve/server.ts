/** Listens, and leaves cleanly. */
import type { Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { serve } from '@hono/node-server';
import { ConfigError } from '@plumbline/core';
import { type AppOptions, createApp } from './app.js';
import type { Service } from './service.js';

export type Running = {
  url: string /** Takes no more requests, lets those under way end for a while, then stops. */;
  close(graceSeconds?: number): Promise<void>;
};

/** @throws ConfigError where the host is beyond this machine and there is no token, or the port is taken */
export async function listen(service: Service, { host, port, ...options }: AppOptions & { host: string; port: number }): Promise<Running> {
  if (!isLoopback(host) && !options.token)
    throw new ConfigError(
      `--host ${host} can be reached from other machines; give a --token that requests must carry, or leave --host out`,
    );
  const app = createApp(service, options);
  const server = await new Promise<Server>((resolve, reject) => {
    const made = serve({ fetch: app.fetch, hostname: host, port }, () => resolve(made)) as Server;
    made.once('error', (error: NodeJS.ErrnoException) =>
      reject(error.code === 'EADDRINUSE' ? new ConfigError(`port ${port} of ${host} is taken; --port names another`) : error),
    );
  });
  const { port: chosen } = server.address() as AddressInfo;
  return {
    url: `http://${host.includes(':') ? `[${host}]` : host}:${chosen}`,
    async close(graceSeconds = 5) {
      const closed = new Promise<void>((resolve) => void server.close(() => resolve()));
      server.closeIdleConnections();
      const hurry = setTimeout(() => server.closeAllConnections(), graceSeconds * 1000);
      await closed;
      clearTimeout(hurry);
      await service.close();
    },
  };
}

export const isLoopback = (host: string): boolean => host === 'localhost' || host === '::1' || /^127(\.\d{1,3}){3}$/.test(host);
