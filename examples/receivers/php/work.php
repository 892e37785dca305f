<?php
// Does what there is to do after a recharge has settled, in the order in which it settled. Runs beside the web server:
// php work.php
declare(strict_types=1);

require __DIR__ . '/ringback.php';

/**
 * Yours to write: a mail, a text message, money given back. What leaves the database may happen twice, if the machine
 * stops before the work is crossed off; give it the number of the work, to know it again.
 */
function tell_customer(PDO $db, array $work): void
{
    $db->prepare('INSERT INTO notice VALUES (?, ?)')->execute([$work['reference_no'], "Your recharge: {$work['status']}."]);
}

$db = database();
while (true) {
    $work = $db->query('SELECT * FROM work ORDER BY number LIMIT 1')->fetch();
    if ($work === false) {
        sleep(1);
        continue;
    }
    atomically($db, function () use ($db, $work): void {
        tell_customer($db, $work);
        $db->prepare('DELETE FROM work WHERE number = ?')->execute([$work['number']]);
    });
}
