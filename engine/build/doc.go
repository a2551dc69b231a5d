// Package build makes images from Dockerfiles by BuildKit in this process, over the
// content and the snapshots of engine/imagestore: what a build makes is an image
// there when the build ends, with no load, save or push, and base images are used
// where they are.
//
// A Builder opens its state (below Root) with the first build; until then it costs
// nothing. Build is for callers in this process. Clients that speak BuildKit's own
// protocol (engine/dockerapi/builds) are handed to ServeGRPC and ServeSession.
//
// Whose is what: records of the cache are in Root and hold snapshots and content of
// the image store by leases that do not end; an image holds what it consists of by
// the store's labels. So pruning the cache leaves images whole, removing an image
// leaves the cache whole, and what neither holds is collected.
package build
