// Package apiregistration holds the kinds of the group apiregistration.k8s.io: API
// groups that other servers answer. See package kinds for the table that this is a
// part of.
package apiregistration

import (
	"fmt"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	apiregistrationv1 "k8s.io/kube-aggregator/pkg/apis/apiregistration/v1"
	"k8s.io/utils/ptr"

	"skiff.dev/skiff/kinds"
	"skiff.dev/skiff/kinds/row"
	"skiff.dev/skiff/kinds/rules"
)

type service = apiregistrationv1.APIService

// Kinds are the group's rows.
func Kinds() []*kinds.Kind { return []*kinds.Kind{apiService()} }

func apiService() *kinds.Kind {
	return row.Fill[apiregistrationv1.APIService, apiregistrationv1.APIServiceList](apiregistrationv1.SchemeGroupVersion, &kinds.Kind{
		Resource: "apiservices", Categories: []string{"api-extensions"},
		RequireRevision: true,
		Name:            row.PathSegment,
		Default: rules.Do(func(s *service) {
			if r := s.Spec.Service; r != nil && r.Port == nil {
				r.Port = ptr.To[int32](443)
			}
		}),
		PrepareCreate:  rules.Do(prepareService),
		PrepareUpdate:  rules.Do2(func(s, old *service) { s.Status = old.Status }),
		Validate:       rules.Check(validateService),
		ValidateUpdate: rules.Check2(validateServiceUpdate),
		Subresources: row.WithStatus(func(s, old *service) {
			s.Spec = old.Spec
			s.Labels, s.Annotations = old.Labels, old.Annotations
			s.Finalizers, s.OwnerReferences = old.Finalizers, old.OwnerReferences
		}, validateServiceStatus, "metadata", "spec"),
		Columns: []metav1.TableColumnDefinition{
			rules.NameColumn(),
			rules.Column("Service", "The reference to the service that hosts this API endpoint."),
			rules.Column("Available", "Whether this service is available."),
			rules.AgeColumn(),
		},
		Cells: rules.Cells(serviceCells),
	}, oldService()...)
}

// prepareService makes what this server answers itself available at once.
func prepareService(s *service) {
	s.Status = apiregistrationv1.APIServiceStatus{}
	if s.Spec.Service == nil {
		s.Status.Conditions = []apiregistrationv1.APIServiceCondition{{
			Type: apiregistrationv1.Available, Status: apiregistrationv1.ConditionTrue,
			LastTransitionTime: metav1.Now(), Reason: "Local", Message: "Local APIServices are always available",
		}}
	}
}

func serviceCells(s *service, now time.Time) []any {
	host, state := "Local", string(apiregistrationv1.ConditionUnknown)
	if r := s.Spec.Service; r != nil {
		host = r.Namespace + "/" + r.Name
	}
	for _, c := range s.Status.Conditions {
		if c.Type == apiregistrationv1.Available {
			state = string(c.Status)
			if c.Status != apiregistrationv1.ConditionTrue && c.Reason != "" {
				state = fmt.Sprintf("%s (%s)", c.Status, c.Reason)
			}
			break
		}
	}
	return []any{s.Name, host, state, rules.Age(s.CreationTimestamp, now)}
}
