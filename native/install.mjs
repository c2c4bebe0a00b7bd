// npm's install step: takes the addon that is there for this platform, or else compiles it, on all cores.
process.env.JOBS ??= 'max'
await import('node-gyp-build/bin.js')
