"""The words of hospitals' tables in English, German, French, Spanish and Chinese: names of columns, sides, labels.

The dictionary is small and may grow; users add what it lacks by ``--column`` and ``--value``. It has only words with
one meaning: a lesion of uncertain malignant potential (B3, LCIS, atypia, papilloma) is neither 0 nor 1 by default.
"""

from __future__ import annotations

import re
import unicodedata

from monai_e2e.data.sources.identifiers import whole_number


def word_key(text: str) -> str:
    """What two ways of writing a word share: without case, accents, blanks and punctuation.

    Example::

        word_key("Patienten-ID")  # "patientenid"
        word_key("Côté")          # "cote"
    """
    letters = unicodedata.normalize("NFKD", text.casefold())
    return "".join(letter for letter in letters if letter.isalnum())


def value_key(text: str) -> str:
    """As :func:`word_key`, of a cell: ``4,0`` and ``4.0`` are 4, other fractions stay what they are."""
    number = text.strip().replace(",", ".")
    return whole_number(number) if re.fullmatch(r"\d+\.\d+", number) else word_key(text)


def _keys(words: str) -> tuple[str, ...]:
    return tuple(word_key(word) for word in words.split(","))


#: Names of columns by what they hold; of two columns of a kind the one whose name stands first is taken.
COLUMNS: dict[str, tuple[str, ...]] = {
    "image": _keys(
        "image path,file path,image file,file name,filename,path,file,image,image id,dicom file,Bilddatei,Dateiname,"
        "Dateipfad,Datei,Bild,Pfad,nom du fichier,nom de fichier,fichier,chemin,nombre de archivo,nombre del archivo,"
        "archivo,fichero,ruta,imagen,文件名,文件路径,文件,图像,影像文件,图片,路径"
    ),
    "instance": _keys("SOP Instance UID,SOPInstanceUID,SOP UID,instance UID"),
    "study": _keys("Study Instance UID,Study UID,StudyUID,Studien-UID,UID de l'étude,UID del estudio,检查UID"),
    "accession": _keys(
        "accession number,accession no,accession,acc no,exam id,exam number,study id,Untersuchungsnummer,"
        "Untersuchungs-Nr,Auftragsnummer,Auftrags-Nr,Anforderungsnummer,Anforderungs-Nr,Untersuchung-ID,"
        "numéro d'accession,numéro d'examen,n° d'examen,número de acceso,número de accession,número de estudio,"
        "número de examen,n° de estudio,检查号,检查编号,检查流水号,登记号,影像号"
    ),
    "patient_id": _keys(
        "patient id,patient number,patient no,patient key,pat id,mrn,medical record number,pseudonym,patient,pid,"
        "Patienten-ID,Patientennummer,Patienten-Nr,Patientenkennung,Pat-Nr,Pat-ID,PatID,PatNr,"
        "identifiant patient,identifiant du patient,numéro patient,numéro du patient,n° patient,IPP,"
        "ID paciente,ID del paciente,número de paciente,número de historia,historia clínica,NHC,paciente,"
        "患者编号,患者ID,患者号,病人编号,病人ID,病人号,住院号,病历号"
    ),
    "date": _keys(
        "study date,exam date,examination date,date of study,date of exam,date,Untersuchungsdatum,Unters.-Datum,"
        "Studiendatum,Aufnahmedatum,Datum,date de l'examen,date d'examen,date examen,fecha del estudio,"
        "fecha de estudio,fecha del examen,fecha de examen,fecha,检查日期,检查时间,日期"
    ),
    "laterality": _keys(
        "laterality,image laterality,breast side,side,Seite,Lateralität,Brustseite,latéralité,côté,lateralidad,lado,"
        "侧别,左右侧,左右,患侧,侧"
    ),
    "view": _keys(
        "view position,view,projection,Projektion,Ebene,Aufnahme,incidence,vue,proyección,vista,投照体位,投照位置,体位"
    ),
    "label": _keys(
        "label,pathology result,pathology,histology,final diagnosis,diagnosis,outcome,malignancy,malignant,cancer,"
        "dignity,class,Label,Histologie,Pathologie,Pathologiebefund,Diagnose,Dignität,Befund,Ergebnis,Malignität,maligne,"
        "anatomopathologie,anapath,diagnostic,résultat,malignité,anatomía patológica,patología,histología,"
        "diagnóstico,resultado,malignidad,病理结果,病理诊断,病理,诊断结果,诊断,良恶性,结果,标签"
    ),
    "birads": _keys(
        "BI-RADS,BI-RADS category,BI-RADS assessment,BI-RADS score,assessment,BI-RADS-Kategorie,BI-RADS Klassifikation,"
        "catégorie BI-RADS,classification BI-RADS,categoría BI-RADS,clasificación BI-RADS,BI-RADS分级,BI-RADS分类,"
        "BI-RADS类别"
    ),
    "density": _keys(
        "breast density,density,BI-RADS density,ACR density,ACR,ACR type,ACR-Typ,Brustdichte,Dichte,Parenchymdichte,"
        "densité mammaire,densité,densidad mamaria,densidad,腺体密度,乳腺密度,密度,腺体类型"
    ),
    "partition": _keys("partition,split,data split,Aufteilung,partición,数据集划分"),
    "age": _keys("age,patient age,age at exam,Alter,Patientenalter,âge,âge de la patiente,edad,edad del paciente,年龄"),
    "vendor": _keys(
        "vendor,manufacturer,Hersteller,Gerätehersteller,fabricant,constructeur,fabricante,厂商,厂家,制造商"
    ),
    "machine": _keys("machine,device,scanner,Gerät,Mammographiegerät,Gerätemodell,appareil,equipo,mamógrafo,设备,机器"),
    "site": _keys("site,hospital,centre,center,Standort,Klinik,Krankenhaus,hôpital,centro,院区,医院"),
    "implant": _keys("implant,implants,breast implant,Implantat,Implantate,prothèse,implante,implantes,prótesis,假体"),
    "subtype": _keys("subtype,molecular subtype,Subtyp,sous-type,sous-type moléculaire,subtipo,分子分型,亚型"),
}
#: Columns of label that say where it comes from.
PATHOLOGY = re.compile("patho|histo|pato|dignit|anapath|病理")
SIDES = {
    **dict.fromkeys(
        _keys("L,left,left breast,li,lks,links,linke Brust,gauche,G,sein gauche,izquierda,izquierdo,izq,I"), "LEFT"
    ),
    **dict.fromkeys(_keys("左,左侧,左乳,左乳腺"), "LEFT"),
    **dict.fromkeys(
        _keys("R,right,right breast,re,rts,rechts,rechte Brust,droite,droit,D,sein droit,derecha,derecho,der"), "RIGHT"
    ),
    **dict.fromkeys(_keys("右,右侧,右乳,右乳腺"), "RIGHT"),
    **dict.fromkeys(
        _keys(
            "B,both,bilateral,L+R,R+L,beidseits,beidseitig,beide,bds,bilatéral,deux,ambos,ambas,bilaterales,双侧,双,双乳"
        ),
        "BOTH",
    ),
}
#: Views by the abbreviations that headers have; of all views empty.
VIEWS = {
    **dict.fromkeys(_keys("CC,craniocaudal,kraniokaudal,cranio-caudale,cráneo-caudal,face,头尾位,轴位"), "CC"),
    **dict.fromkeys(
        _keys(
            "MLO,mediolateral oblique,medio-lateral oblique,oblique,schräg,mediolateral schräg,médio-latérale oblique,"
            "oblique externe,oblicua mediolateral,oblicua,内外斜位,斜位"
        ),
        "MLO",
    ),
    **dict.fromkeys(
        _keys(
            "CC+MLO,MLO+CC,both,both views,2 views,all,beide,beide Ebenen,2 Ebenen,zwei Ebenen,alle,"
            "les deux,2 incidences,toutes,ambas,2 proyecciones,todas,双位,全部"
        ),
        "",
    ),
    **{word_key(view): view for view in ("ML", "LM", "LMO", "FB", "SIO", "ISO", "XCCL", "XCCM")},
}
#: Cells that say nothing.
MISSING = _keys(
    "-,?,nan,none,null,n/a,na,unknown,not known,unbekannt,unklar,k.A.,keine Angabe,inconnu,inconnue,non connu,"
    "desconocido,sin datos,未知,不详,无资料"
)
LABEL_WORDS = {
    **dict.fromkeys(
        _keys(
            "0,negative,benign,normal,no cancer,no malignancy,not malignant,non-malignant,no,n,false,B,fibroadenoma,"
            "cyst,simple cyst,fibrocystic change,fibrocystic changes,adenosis,lipoma,hamartoma,B2,"
            "negativ,gutartig,benigne,unauffällig,kein Karzinom,kein Malignom,nicht maligne,nein,falsch,Fibroadenom,"
            "Zyste,Mastopathie,Adenose,Lipom,Hamartom,"
            "négatif,bénin,bénigne,normale,pas de cancer,non,faux,adénofibrome,fibroadénome,kyste,mastopathie,"
            "negativo,negativa,benigno,benigna,sin cáncer,falso,quiste,fibroadenoma mamario,"
            "阴性,良性,正常,否,纤维腺瘤,囊肿,腺病"
        ),
        0,
    ),
    **dict.fromkeys(
        _keys(
            "1,positive,malignant,cancer,carcinoma,yes,y,true,M,invasive carcinoma,invasive ductal carcinoma,IDC,"
            "invasive lobular carcinoma,ILC,invasive carcinoma NST,NST,DCIS,ductal carcinoma in situ,"
            "mucinous carcinoma,tubular carcinoma,breast cancer,B5,B5a,B5b,"
            "positiv,bösartig,boesartig,maligne,Karzinom,Mammakarzinom,Brustkrebs,Krebs,ja,wahr,invasives Karzinom,"
            "invasiv duktales Karzinom,invasives duktales Karzinom,invasiv lobuläres Karzinom,"
            "invasives lobuläres Karzinom,invasives Karzinom NST,duktales Carcinoma in situ,Mamma-Ca,"
            "inv. duktales Karzinom,inv. duktales Ca,inv. lobuläres Karzinom,inv. lobuläres Ca,"
            "positif,malin,carcinome,oui,vrai,cancer du sein,carcinome infiltrant,carcinome canalaire infiltrant,"
            "carcinome lobulaire infiltrant,carcinome canalaire in situ,CCIS,"
            "positivo,positiva,maligno,maligna,cáncer,cáncer de mama,sí,verdadero,carcinoma infiltrante,"
            "carcinoma ductal infiltrante,carcinoma ductal invasivo,carcinoma lobulillar infiltrante,"
            "carcinoma ductal in situ,CDIS,"
            "阳性,恶性,癌,乳腺癌,是,浸润性癌,浸润性导管癌,浸润性小叶癌,导管原位癌"
        ),
        1,
    ),
}
YES_NO = {
    **dict.fromkeys(_keys("1,yes,y,true,ja,oui,sí,是,有"), "yes"),
    **dict.fromkeys(_keys("0,no,n,false,nein,non,否,无"), "no"),
}
DENSITIES = {
    letter: number
    for number, letters in enumerate(("1 a i", "2 b ii", "3 c iii", "4 d iv"), start=1)
    for letter in letters.split()
}
#: How names of months begin.
MONTHS = {
    start: number
    for number, starts in {
        1: "jan ene",
        2: "feb fev",
        3: "mar mrz mae",
        4: "apr avr abr",
        5: "mai may",
        6: "jun juin",
        7: "jul juil",
        8: "aug aou ago",
        9: "sep",
        10: "oct okt",
        11: "nov",
        12: "dec dez dic",
    }.items()
    for start in starts.split()
}
