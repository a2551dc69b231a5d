package kinds

import "context"

// Event is one change of one object, as the API server's cache tells it inside
// the process. Both objects are shared and immutable. Old is nil when the object
// was created; New is nil when it was deleted.
type Event struct {
	Old, New Object
	Revision int64
}

// EventStream is a cursor over the changes of one kind.
type EventStream interface {
	// Next blocks for the next events, at least one. It fails with the context's
	// error, or with a 410 StatusError ("Expired") when the cursor fell behind the
	// server's history: list again then.
	Next(ctx context.Context) ([]Event, error)
	Close()
}
