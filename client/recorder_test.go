package client_test

import (
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"skiff.dev/skiff/client"
)

func eventsOf(t *testing.T, p *client.InProcess) []corev1.Event {
	t.Helper()
	synctest.Wait()
	var list corev1.EventList
	if err := p.List(t.Context(), &list); err != nil {
		t.Fatal(err)
	}
	return list.Items
}

func TestRecorder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, p := open(t)
		r := client.NewRecorder(p, "kubelet", "node-1", slog.New(slog.DiscardHandler))
		pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "web", UID: "u"}}
		for range 3 {
			r.Eventf(pod, corev1.EventTypeWarning, "BackOff", "again %d", 1)
			synctest.Wait()
			time.Sleep(time.Minute)
		}
		all := eventsOf(t, p)
		if len(all) != 1 {
			t.Fatalf("%d events", len(all))
		}
		e := all[0]
		if e.Count != 3 || e.Source.Component != "kubelet" || e.Source.Host != "node-1" || e.InvolvedObject.Kind != "Pod" || e.InvolvedObject.UID != "u" ||
			!strings.HasPrefix(e.Name, "web.") || !e.LastTimestamp.After(e.FirstTimestamp.Time) || e.Message != "again 1" {
			t.Fatalf("%+v", e)
		}
		// An event that somebody deleted is made anew.
		if err := p.Delete(t.Context(), &e); err != nil {
			t.Fatal(err)
		}
		r.Eventf(pod, corev1.EventTypeWarning, "BackOff", "again %d", 1)
		if all := eventsOf(t, p); len(all) != 1 || all[0].Count != 1 {
			t.Fatalf("%+v", all)
		}
	})
}

func TestRecorderCombinesAndLimits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, p := open(t)
		r := client.NewRecorder(p, "c", "", slog.New(slog.DiscardHandler))
		node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n", UID: "u"}}
		for i := range 100 {
			r.Eventf(node, corev1.EventTypeNormal, "Many", "message %d", i)
		}
		all := eventsOf(t, p)
		combined := 0
		for _, e := range all {
			if e.Namespace != "default" {
				t.Fatalf("event of a node in namespace %q", e.Namespace)
			}
			if strings.HasPrefix(e.Message, "(combined from similar events): ") {
				combined++
				if e.Count != 15 { // 25 at once, of which ten had messages of their own
					t.Errorf("combined %d times", e.Count)
				}
			}
		}
		if len(all) != 11 || combined != 1 {
			t.Fatalf("%d events, %d combined", len(all), combined)
		}
		time.Sleep(5 * time.Minute)
		r.Eventf(node, corev1.EventTypeNormal, "Other", "after a while")
		if all := eventsOf(t, p); len(all) != 12 {
			t.Fatalf("%d events: the budget was not filled again", len(all))
		}
	})
}

func TestRecorderSeries(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, p := open(t)
		r := client.NewRecorder(p, "default-scheduler", "host", slog.New(slog.DiscardHandler))
		pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "web", UID: "u"}}
		before := b.Writes()
		for i := range 10 {
			r.Actionf(pod, corev1.EventTypeWarning, "FailedScheduling", "Scheduling", "no %d", i)
		}
		all := eventsOf(t, p)
		e := all[0]
		if len(all) != 1 || e.Action != "Scheduling" || e.ReportingController != "default-scheduler" || e.ReportingInstance != "default-scheduler-host" ||
			e.EventTime.IsZero() || !e.FirstTimestamp.IsZero() || e.Series == nil || e.Series.Count != 2 {
			t.Fatalf("%d: %+v", len(all), e)
		}
		if n := b.Writes() - before; n != 2 {
			t.Fatalf("%d writes for one series", n)
		}
		time.Sleep(7 * time.Minute)
		r.Actionf(pod, corev1.EventTypeWarning, "FailedScheduling", "Scheduling", "no")
		if got := eventsOf(t, p)[0].Series.Count; fmt.Sprint(got) != "11" {
			t.Fatalf("series of %d", got)
		}
	})
}
