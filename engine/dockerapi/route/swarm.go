package route

import "fmt"

// ErrNoManager is what every area answers to what only a manager of a swarm can do:
// this engine is in no swarm.
var ErrNoManager = Unavailablef(`This node is not a swarm manager. Use "docker swarm init" or "docker swarm join" to connect this node to swarm and try again.`)

// Unavailablef is Unavailable of a formatted error.
func Unavailablef(format string, a ...any) error { return Unavailable(fmt.Errorf(format, a...)) }
