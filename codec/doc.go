// Package codec turns API objects into bytes and back: JSON, YAML and protobuf,
// conversion between served versions and the hub, and the four kinds of patches.
package codec
