package apiserver

import "time"

// requestTime is how long a request may take that does not say how long.
const requestTime = 60 * time.Second

// timeLimit is how long this one may take.
func (c *call) timeLimit() time.Duration { return requestTime }
