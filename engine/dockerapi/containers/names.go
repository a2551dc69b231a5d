package containers

import (
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"math/big"
	"regexp"
	"strings"

	"skiff.dev/skiff/engine/dockerapi/route"
)

var validName = regexp.MustCompile(`^[a-zA-Z0-9][a-zA-Z0-9_.-]+$`)

func checkName(name string) error {
	if !validName.MatchString(strings.TrimPrefix(name, "/")) {
		return route.Invalidf("Invalid container name (%s), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed", name)
	}
	return nil
}

// reserve takes a name for a container; a.mu is held.
func (a *Area) reserve(name, id string) error {
	if other, ok := a.names[name]; ok {
		return route.Conflictf("Conflict. The container name %q is already in use by container %q. You have to remove (or rename) that container to be able to reuse that name.", "/"+name, other)
	}
	a.names[name] = id
	return nil
}

var (
	first = strings.Fields(`agile amber bold brave breezy bright brisk calm candid cheerful clever coral crisp daring deft eager fair fleet
		gentle glad golden hardy hearty humble jolly keen kind lively loyal lucid mellow merry mighty nimble noble patient plucky proud quick quiet
		rapid ready salty sharp silver sleek smart snug steady stout sturdy sunny swift tidy trusty upbeat vivid warm wise witty zesty`)
	second = strings.Fields(`amundsen anson barents bering bligh bougainville cabot cartier champlain cook dagama dampier davis drake erikson
		flinders franklin frobisher gama hudson humboldt kotzebue laperouse magellan malaspina nansen nordenskiold perry pytheas ross shackleton
		slocum tasman torres vancouver vespucci weddell wilkes zarco zheng`)
)

// randomName is a free name for who gives none; a.mu is held.
func (a *Area) randomName() string {
	for n := 0; ; n++ {
		name := first[pick(len(first))] + "_" + second[pick(len(second))]
		if n > 8 {
			name += fmt.Sprint(pick(1000))
		}
		if _, taken := a.names[name]; !taken {
			return name
		}
	}
}

func pick(n int) int {
	i, err := rand.Int(rand.Reader, big.NewInt(int64(n)))
	if err != nil {
		return 0 // crypto/rand does not fail on this system
	}
	return int(i.Int64())
}

func newID() string {
	b := make([]byte, 32)
	rand.Read(b)
	return hex.EncodeToString(b)
}
