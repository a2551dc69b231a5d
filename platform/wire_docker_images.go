package platform

import (
	"errors"

	"skiff.dev/skiff/engine/dockerapi/event"
	"skiff.dev/skiff/engine/dockerapi/images"
)

// dockerImages is the area of images over the engine's own store.
func (p *process) dockerImages(events *event.Hub, conts images.Containers) (*images.Area, error) {
	store, ok := p.engine.Images().(interface {
		images.Store
		images.Searcher
	})
	if !ok {
		return nil, errors.New("the engine's image store has no catalog")
	}
	return images.New(images.Options{Store: store, Users: p.engine, Containers: conts, Events: events, Search: store}), nil
}
