// Package dockerapi is the door of the Docker Engine API: it finds the route of a
// request, checks the API version, sets Docker's headers and turns errors into
// answers, once. What the API does is in the areas, one folder each, listed in one
// place, in order, by who wires them (platform/wire_docker.go):
//
//	system      /_ping, /version, /info, /events, /auth, /system/df
//	containers  /containers, /exec
//	images      /images, /distribution, /commit
//	builds      /build, /session, /grpc
//	networks    /networks
//	volumes     /volumes
//	swarm       /swarm, /nodes, /services, /tasks, /secrets, /configs, /plugins
//
// An area is a type with Routes() []route.Route, made by New(Options) in its own
// package. What it needs of others it declares itself as a small interface; areas
// do not import each other. They share three packages and nothing else: route (how
// requests are read and answered, and the kinds of errors), filters (the filters of
// lists and prunes) and event (one Hub to which all publish what happened).
//
// Nothing is made before the first request comes, save where a container's restart
// policy wants something done: Begin.
package dockerapi
