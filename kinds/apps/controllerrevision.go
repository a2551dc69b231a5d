package apps

import (
	"strings"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"skiff.dev/skiff/kinds"
	"skiff.dev/skiff/kinds/row"
)

func controllerRevision() *kinds.Kind {
	return &kinds.Kind{
		Group: group, Version: "v1", Kind: "ControllerRevision", List: "ControllerRevisionList",
		Resource: "controllerrevisions", Singular: "controllerrevision",
		Namespaced:     true,
		Served:         row.Hub(group, "v1"),
		New:            row.Make[appsv1.ControllerRevision](),
		NewList:        row.MakeAny[appsv1.ControllerRevisionList](),
		Name:           row.DNSSubdomain,
		Validate:       row.Judge(validateControllerRevision),
		ValidateUpdate: row.JudgeUpdate(validateControllerRevisionUpdate),
		Columns: []metav1.TableColumnDefinition{
			row.NameColumn(),
			row.Column("Controller", "Controller of the object"),
			row.Column("Revision", appsv1.ControllerRevision{}.SwaggerDoc()["revision"]),
			row.AgeColumn(),
		},
		Cells: row.Print(controllerRevisionCells),
	}
}

func controllerRevisionCells(r *appsv1.ControllerRevision, now time.Time) []any {
	controller := "<none>"
	if ref := metav1.GetControllerOf(r); ref != nil {
		kind := schema.FromAPIVersionAndKind(ref.APIVersion, ref.Kind).GroupKind()
		controller = strings.ToLower(kind.String()) + "/" + ref.Name
	}
	return []any{r.Name, controller, r.Revision, row.Age(r, now)}
}
