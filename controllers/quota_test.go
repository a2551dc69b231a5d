package controllers_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	crclient "sigs.k8s.io/controller-runtime/pkg/client"

	"skiff.dev/skiff/apiserver/admit"
)

func limited(namespace string, hard corev1.ResourceList) *corev1.ResourceQuota {
	return &corev1.ResourceQuota{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "limits"}, Spec: corev1.ResourceQuotaSpec{Hard: hard}}
}

func quotaPod(namespace, name string) *corev1.Pod {
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name},
		Spec: corev1.PodSpec{SchedulerName: "none", Containers: []corev1.Container{{
			Name: "c", Image: "i", Resources: corev1.ResourceRequirements{Requests: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("100m")}},
		}}},
	}
}

func (c *cluster) used(q *corev1.ResourceQuota, name corev1.ResourceName) string {
	c.t.Helper()
	c.must(c.Get(context.Background(), crclient.ObjectKeyFromObject(q), q))
	v, ok := q.Status.Used[name]
	if !ok {
		return "unknown"
	}
	return v.String()
}

// However many create and delete at once, exactly as many pods exist as the quota
// allows, and it says so.
func TestQuotaIsExact(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx := context.Background()
		c := start(t, &admit.ResourceQuota{})
		c.create(&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "shop"}})
		c.create(quotaPod("shop", "before"))
		q := limited("shop", corev1.ResourceList{corev1.ResourcePods: resource.MustParse("20"), corev1.ResourceRequestsCPU: resource.MustParse("10")})
		c.create(q)
		settle()
		if p, cpu := c.used(q, corev1.ResourcePods), c.used(q, corev1.ResourceRequestsCPU); p != "1" || cpu != "100m" {
			t.Fatalf("what was there before is counted as %s pods, %s cpu", p, cpu)
		}

		var made atomic.Int32
		var wg sync.WaitGroup
		for i := range 60 {
			wg.Go(func() {
				err := c.Create(ctx, quotaPod("shop", fmt.Sprintf("p%d", i)))
				switch {
				case err == nil:
					made.Add(1)
				case !apierrors.IsForbidden(err) || !strings.Contains(err.Error(), "exceeded quota: limits, requested: pods=1, used: pods=20, limited: pods=20"):
					t.Errorf("create: %v", err)
				}
			})
		}
		wg.Wait()
		if n, u := made.Load(), c.used(q, corev1.ResourcePods); n != 19 || u != "20" {
			t.Fatalf("%d were made beside the first one, the quota says %s", n, u)
		}
		if err := c.Create(ctx, quotaPod("shop", "dry"), crclient.DryRunAll); !apierrors.IsForbidden(err) {
			t.Errorf("a dry run beyond the quota: %v", err)
		}
		for i := range 60 {
			c.must(crclient.IgnoreNotFound(c.Delete(ctx, quotaPod("shop", fmt.Sprintf("p%d", i)), crclient.GracePeriodSeconds(0))))
		}
		settle()
		if p, cpu := c.used(q, corev1.ResourcePods), c.used(q, corev1.ResourceRequestsCPU); p != "1" || cpu != "100m" {
			t.Fatalf("after the deletions %s pods and %s cpu are used", p, cpu)
		}
		c.must(c.Create(ctx, quotaPod("shop", "dry"), crclient.DryRunAll))
		if u := c.used(q, corev1.ResourcePods); u != "1" {
			t.Errorf("a dry run was charged: %s", u)
		}

		// Creations, endings and deletions, all at once.
		for i := range 30 {
			wg.Go(func() {
				p := quotaPod("shop", fmt.Sprintf("m%d", i))
				if err := c.Create(ctx, p); err != nil {
					if !apierrors.IsForbidden(err) {
						t.Errorf("create: %v", err)
					}
					return
				}
				switch i % 3 {
				case 0:
					c.must(c.Delete(ctx, p, crclient.GracePeriodSeconds(0)))
				case 1:
					p.Status.Phase = corev1.PodSucceeded
					c.must(c.Status().Update(ctx, p))
				}
			})
		}
		wg.Wait()
		settle()
		var pods corev1.PodList
		c.must(c.List(ctx, &pods, crclient.InNamespace("shop")))
		running := 0
		for i := range pods.Items {
			if pods.Items[i].Status.Phase != corev1.PodSucceeded {
				running++
			}
		}
		if u := c.used(q, corev1.ResourcePods); u != fmt.Sprint(running) || running > 20 {
			t.Errorf("%d pods run, the quota says %s", running, u)
		}
	})
}

// Other kinds are counted by their number, from the moment in which a quota says so.
func TestQuotaCountsObjects(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx := context.Background()
		c := start(t, &admit.ResourceQuota{})
		c.create(&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "shop"}})
		q := limited("shop", corev1.ResourceList{"count/deployments.apps": resource.MustParse("1"), corev1.ResourceSecrets: resource.MustParse("2")})
		c.create(q)
		settle()
		d, svc := web("shop")
		c.create(d, svc)
		other := d.DeepCopy()
		other.ObjectMeta = metav1.ObjectMeta{Namespace: "shop", Name: "other"}
		err := c.Create(ctx, other)
		want := `deployments.apps "other" is forbidden: exceeded quota: limits, requested: count/deployments.apps=1, used: count/deployments.apps=1, limited: count/deployments.apps=1`
		if err == nil || err.Error() != want {
			t.Errorf("got %v\nwant %s", err, want)
		}
		c.must(c.Delete(ctx, d))
		settle()
		if u := c.used(q, "count/deployments.apps"); u != "0" {
			t.Errorf("a deleted deployment counts: %s", u)
		}
		c.must(c.Create(ctx, other))

		// A limit that is raised is known without anything else happening.
		c.must(c.Get(ctx, crclient.ObjectKeyFromObject(q), q))
		q.Spec.Hard[corev1.ResourceServices] = resource.MustParse("5")
		c.must(c.Update(ctx, q))
		settle()
		if u := c.used(q, corev1.ResourceServices); u != "1" {
			t.Errorf("services that were there are counted as %s", u)
		}
		managers := map[string]bool{}
		for _, m := range q.ManagedFields {
			managers[m.Manager+" "+m.Subresource] = true
		}
		if !managers["kube-apiserver status"] {
			t.Errorf("who charged is not among the managers: %v", managers)
		}
		time.Sleep(recountRound)
		settle()
		if u := c.used(q, corev1.ResourceServices); u != "1" {
			t.Errorf("counted anew: %s", u)
		}
	})
}

// recountRound is more than the pause after which everything is counted anew.
const recountRound = 6 * time.Minute
