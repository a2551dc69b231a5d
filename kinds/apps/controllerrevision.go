package apps

import (
	"strings"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"skiff.dev/skiff/kinds"
	"skiff.dev/skiff/kinds/row"
	"skiff.dev/skiff/kinds/rules"
)

func controllerRevision() *kinds.Kind {
	return row.Fill[appsv1.ControllerRevision, appsv1.ControllerRevisionList](appsv1.SchemeGroupVersion, &kinds.Kind{
		Resource:       "controllerrevisions",
		Namespaced:     true,
		Name:           rules.DNSSubdomain,
		Validate:       rules.Check(validateControllerRevision),
		ValidateUpdate: rules.Check2(validateControllerRevisionUpdate),
		Columns: []metav1.TableColumnDefinition{
			rules.NameColumn(),
			rules.Column("Controller", "Controller of the object"),
			rules.Column("Revision", appsv1.ControllerRevision{}.SwaggerDoc()["revision"]),
			rules.AgeColumn(),
		},
		Cells: rules.Cells(controllerRevisionCells),
	}, oldControllerRevisions()...)
}

func controllerRevisionCells(r *appsv1.ControllerRevision, now time.Time) []any {
	controller := "<none>"
	if ref := metav1.GetControllerOf(r); ref != nil {
		kind := schema.FromAPIVersionAndKind(ref.APIVersion, ref.Kind).GroupKind()
		controller = strings.ToLower(kind.String()) + "/" + ref.Name
	}
	return []any{r.Name, controller, r.Revision, rules.Age(r.CreationTimestamp, now)}
}
