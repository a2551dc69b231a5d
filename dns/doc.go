// Package dns answers the cluster's names on every node: services, endpoints and
// pods from the API's cache, the rest from the machine's own resolvers.
package dns
