// Package codec turns API objects into bytes and back: JSON, YAML and protobuf,
// conversion between served versions and the hub, and the four kinds of patches.
//
// A body is the encoding of an object without its kind and apiVersion: that is
// what the store's envelope, a list's items and a watch event have in common, so
// one encoding of an object serves them all; AppendObject puts the type in front.
package codec
