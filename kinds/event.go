package kinds

// Event is one change of one object, as the API server's cache tells it inside
// the process. Both objects are shared and immutable. Old is nil when the object
// was created; New is nil when it was deleted.
type Event struct {
	Old, New Object
	Revision int64
}
