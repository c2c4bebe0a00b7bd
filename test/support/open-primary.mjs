// Opens a primary on the path it is given, says so, and stays until it is killed.
import { Primary, Snapshot } from '../../dist/main/index.js'

await Primary.open(await Snapshot.blank(), [], { path: process.argv[2] })
process.send('open')
setInterval(() => {}, 1000)
