<?php
// Records what the feed has and this receiver missed, and ends. After downtime, and every night:
// API=https://ringback.example.com TOKEN=rb_live_… php catch_up.php
declare(strict_types=1);

require __DIR__ . '/ringback.php';

/** The events behind that number; without one from the oldest that is kept. */
function page(?int $after): array
{
    $query = http_build_query(['limit' => 200, 'after' => $after]); // Leaves out what is null.
    $context = stream_context_create(['http' => [
        'header' => 'Authorization: Bearer ' . (getenv('TOKEN') ?: throw new Exception('set TOKEN')),
        'ignore_errors' => true,
        'timeout' => 30,
    ]]);
    $answer = file_get_contents((getenv('API') ?: 'http://127.0.0.1:8080') . "/v1/events?$query", false, $context);
    if (!str_contains($http_response_header[0] ?? '', ' 200')) {
        // 410: events are gone from the feed. GET /v1/recharges has what became of each recharge.
        throw new Exception($answer ?: 'no answer');
    }
    return json_decode($answer, true, flags: JSON_THROW_ON_ERROR);
}

$db = database();
$after = $db->query('SELECT max(after) AS after FROM feed')->fetch()['after'];
while (($events = page($after))['data']) {
    foreach ($events['data'] as $event) {
        if (in_array($event['type'], KNOWN, true)) {
            record($db, $event['id'], $event['data']);
        }
    }
    $after = $events['next_after']; // Kept only now that all up to it is recorded.
    $db->prepare('INSERT OR REPLACE INTO feed VALUES (1, ?)')->execute([$after]);
}
echo 'has everything up to ', $after ?? 'the beginning', PHP_EOL;
