// Package bridge is the container engine's networks on one machine, as Docker has
// them: the default bridge, host and none, bridges that users make, addresses,
// published ports and names. It knows containers by their ids and the paths of their
// network namespaces; engine/dockerapi's areas containers and networks are its
// callers, kernel/link, kernel/nft and kernel/netns its tools.
package bridge
