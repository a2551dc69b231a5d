package platform

import (
	"context"

	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"skiff.dev/skiff/client"
	"skiff.dev/skiff/kinds"
)

// feed tells a function every change of one kind, beginning with what is there.
type feed struct {
	backend  client.Backend
	kind     *kinds.Kind
	apply    func(kinds.Event)
	have     map[string]kinds.Object
	revision int64
}

// list brings apply to the state of now, whatever it knew before.
func (f *feed) list(ctx context.Context) error {
	objects, revision, err := f.backend.List(ctx, f.kind, "", nil)
	if err != nil {
		return err
	}
	f.revision = revision
	gone := f.have
	f.have = make(map[string]kinds.Object, len(objects))
	for _, o := range objects {
		key := o.GetNamespace() + "/" + o.GetName()
		f.apply(kinds.Event{Old: gone[key], New: o, Revision: revision})
		delete(gone, key)
		f.have[key] = o
	}
	for _, o := range gone {
		f.apply(kinds.Event{Old: o, Revision: revision})
	}
	return nil
}

// run follows the changes after list.
func (f *feed) run(ctx context.Context) error {
	for {
		err := f.follow(ctx)
		if ctx.Err() != nil {
			return nil
		}
		if !apierrors.IsResourceExpired(err) && !apierrors.IsGone(err) {
			return err
		}
		if err := f.list(ctx); err != nil {
			return err
		}
	}
}

func (f *feed) follow(ctx context.Context) error {
	stream, err := f.backend.Watch(ctx, f.kind, "", f.revision)
	if err != nil {
		return err
	}
	defer stream.Close()
	for {
		events, err := stream.Next(ctx)
		if err != nil {
			return err
		}
		for _, e := range events {
			f.apply(e)
			if e.New != nil {
				f.have[e.New.GetNamespace()+"/"+e.New.GetName()] = e.New
			} else {
				delete(f.have, e.Old.GetNamespace()+"/"+e.Old.GetName())
			}
			f.revision = e.Revision
		}
	}
}
