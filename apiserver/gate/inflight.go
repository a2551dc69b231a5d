package gate

// Limits bound the requests that are served at once without priority and fairness
// (server/filters, maxinflight.go). A channel that is nil bounds nothing.
type Limits struct{ reading, writing chan struct{} }

// NewLimits makes them; 0 is no bound.
func NewLimits(reading, writing int) *Limits {
	l := &Limits{}
	if reading > 0 {
		l.reading = make(chan struct{}, reading)
	}
	if writing > 0 {
		l.writing = make(chan struct{}, writing)
	}
	return l
}

// Enter takes a place; false: there is none. leave is nil where nothing is bounded.
func (l *Limits) Enter(writes bool) (leave func(), ok bool) {
	c := l.reading
	if writes {
		c = l.writing
	}
	if c == nil {
		return nil, true
	}
	select {
	case c <- struct{}{}:
		return func() { <-c }, true
	default:
		return nil, false
	}
}
