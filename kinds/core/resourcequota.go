package core

import (
	"fmt"
	"slices"
	"strings"
	"time"

	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"skiff.dev/skiff/kinds"
	"skiff.dev/skiff/kinds/rules"
)

func resourceQuota() *kinds.Kind {
	k := newKind[v1.ResourceQuota, v1.ResourceQuotaList]("resourcequotas", true, "quota")
	k.Name = rules.DNSSubdomain
	k.Default = rules.Do(func(q *v1.ResourceQuota) {
		roundResources(q.Spec.Hard)
		roundResources(q.Status.Hard)
		roundResources(q.Status.Used)
	})
	k.PrepareCreate = rules.Do(func(q *v1.ResourceQuota) { q.Status = v1.ResourceQuotaStatus{} })
	k.PrepareUpdate = rules.Do2(func(obj, old *v1.ResourceQuota) { obj.Status = old.Status })
	k.Validate = rules.Check(validateResourceQuota)
	k.ValidateUpdate = rules.Check2(validateResourceQuotaUpdate)
	k.Warnings = rules.Warn(resourceQuotaWarnings)
	k.Subresources = map[string]kinds.Subresource{
		"status": {
			Verbs:          statusVerbs(),
			PrepareUpdate:  rules.Do2(func(obj, old *v1.ResourceQuota) { obj.Spec = old.Spec }),
			ValidateUpdate: rules.Check2(validateResourceQuotaStatus),
			Reset:          []string{"spec"},
		},
	}
	k.Columns = []metav1.TableColumnDefinition{
		rules.NameColumn(),
		rules.Column("Request", "Request represents a minimum amount of cpu/memory that a container may consume."),
		rules.Column("Limit", "Limits control the maximum amount of cpu/memory that a container may use independent of contention on the node."),
		rules.AgeColumn(),
	}
	k.Cells = rules.Cells(resourceQuotaCells)
	return k
}

func resourceQuotaWarnings(q, old *v1.ResourceQuota) []string {
	if old != nil {
		return nil
	}
	var out []string
	for _, name := range []v1.ResourceName{v1.ResourceCPU, v1.ResourceMemory, v1.ResourceStorage, v1.ResourceEphemeralStorage} {
		requestName, limitName := "requests."+name, "limits."+name
		request, ok := q.Spec.Hard[requestName]
		if !ok && (name == v1.ResourceCPU || name == v1.ResourceMemory) {
			requestName = name
			request, ok = q.Spec.Hard[name]
		}
		limit, limited := q.Spec.Hard[limitName]
		if ok && limited && request.Cmp(limit) > 0 {
			out = append(out, fmt.Sprintf("ResourceQuota %s (%s) should be less than %s (%s)", requestName, request.String(), limitName, limit.String()))
		}
	}
	return out
}

func resourceQuotaCells(q *v1.ResourceQuota, now time.Time) []any {
	names := make([]v1.ResourceName, 0, len(q.Status.Hard))
	for name := range q.Status.Hard {
		names = append(names, name)
	}
	slices.Sort(names)
	var requests, limits []string
	for _, name := range names {
		used, hard := q.Status.Used[name], q.Status.Hard[name]
		text := fmt.Sprintf("%s: %s/%s", name, used.String(), hard.String())
		if strings.HasPrefix(string(name), "limits.") {
			limits = append(limits, text)
		} else {
			requests = append(requests, text)
		}
	}
	return []any{q.Name, strings.Join(requests, ", "), strings.Join(limits, ", "), rules.Age(q.CreationTimestamp, now)}
}
