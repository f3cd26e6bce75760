// Starts the service: ISSUER, AUDIENCE, PORT, and FEED_CLIENT with FEED_SECRET if it is to follow the feed.

import { makeApp } from './app.mjs'
import { Status } from './countersign_status.mjs'

const { ISSUER: issuer, AUDIENCE: audience, PORT: port = '5000', FEED_CLIENT: client, FEED_SECRET: secret } = process.env
if (!issuer || !audience) throw new Error('ISSUER and AUDIENCE are needed')
const status = new Status({ issuer, feed: client && { client, secret } }).start()
for (const signal of ['SIGINT', 'SIGTERM']) process.once(signal, () => status.leave().finally(process.exit))
makeApp({ issuer, audience, status }).listen(Number(port), '127.0.0.1', (error) => {
  if (error) throw error
})
