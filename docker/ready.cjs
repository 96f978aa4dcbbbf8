/**
 * The container's health check: 0 when `/readyz` of the server in this container answers 200, else 1 and the reason. CommonJS without
 * dependencies, for it starts anew every few seconds.
 */
const http = require('node:http')

const { port } = new URL(`http://${process.env.OSTRAKA_HTTP}`)

function unready(reason) {
  console.log(reason)
  process.exit(1)
}

http
  .get({ host: '127.0.0.1', port, path: '/readyz', timeout: 2_000 }, (response) => {
    if (response.statusCode === 200) process.exit(0)
    unready(`/readyz answers ${response.statusCode}`)
  })
  .on('timeout', () => unready('/readyz does not answer'))
  .on('error', (error) => unready(error.message))
