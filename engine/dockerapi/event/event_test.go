package event

import (
	"context"
	"testing"
	"time"

	"github.com/moby/moby/api/types/events"
)

func TestHub(t *testing.T) {
	var h Hub
	all := func(*events.Message) bool { return true }
	for range kept + 5 {
		h.Publish("container", "start", "a", nil)
	}
	ctx, cancel := context.WithCancel(context.Background())
	past, ch := h.Subscribe(ctx, time.Unix(1, 0), time.Time{}, all)
	if len(past) != kept {
		t.Errorf("%d are remembered", len(past))
	}
	h.Publish("container", "die", "b", map[string]string{"exitCode": "0"})
	if m := <-ch; m.Action != "die" || m.Actor.Attributes["exitCode"] != "0" || m.Scope != "local" {
		t.Errorf("%+v", m)
	}
	cancel()
	if _, ok := <-ch; ok {
		t.Error("more came")
	}
	_, slow := h.Subscribe(context.Background(), time.Time{}, time.Time{}, all)
	for range lag + 1 {
		h.Publish("container", "start", "a", nil)
	}
	n := 0
	for range slow {
		n++
	}
	if n != lag {
		t.Errorf("a slow reader got %d", n)
	}
}
